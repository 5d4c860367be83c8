"""How what rum does grows with its size: measured as curves, kept in one file, drawn as one picture per subject.

`python -m e2e.bench.growth` measures what one guest can show; `nox -s e2e_scale` adds the curve of many VMs.
"""
