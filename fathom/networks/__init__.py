"""The meta-architecture of Transformers4Rec (RecSys 2021): features -> masking -> block -> heads, built from a schema."""
