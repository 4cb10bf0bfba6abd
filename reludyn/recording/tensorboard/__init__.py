"""What TensorBoard shows of runs."""
