"""The teacher, the student, and how the student's first weights are drawn."""
