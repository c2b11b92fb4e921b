"""Running the notebooks: what the course is made of, the papermill run, the student's copy."""
