export PATH=/work/main/.venv/bin:/work/.library:$PATH PYTHONPATH=/work/rev/8/src TMPDIR=/work/tmpn/rev8
