"""The benchmark: rum beside what people would use instead, in one run on one guest.

`experiment.py` has the vocabulary, `experiments.py` the list; a module for each group of experiments measures.
"""
