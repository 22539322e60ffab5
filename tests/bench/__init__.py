"""Measurements of what Holdfast promises: numbers, each beside what it is compared with in the same run.

numpy's BLAS gets one thread, here and in every process that is measured, as in the command line (cli/__init__.py): its
threads wait by spinning, which would count as CPU time.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
