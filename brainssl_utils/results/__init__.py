"""What trainings leave behind: records, the tables made from them, the published figures."""
