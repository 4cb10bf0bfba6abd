"""The paper, reproduced: its experiments run, its claims checked, a report written."""
