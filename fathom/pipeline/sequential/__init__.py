"""Named models beside each other: each is a stage, all are asked the same cases."""
