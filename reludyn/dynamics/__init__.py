"""Order parameters, phases and pairs: what describes a student during training."""
