"""What the API answers and the pages show: one read function for each question, so that the two never disagree."""
