"""Reading what an encoder has learned: probes, fine-tuning, the report on the test images."""
