"""Teacher and student, and how a student's first weights are drawn."""
