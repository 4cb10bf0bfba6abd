"""What describes a student on its way: order parameters, phases, pairs."""
