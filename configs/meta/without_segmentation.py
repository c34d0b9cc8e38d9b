# Leave one out: learnt from the other three demo tasks, tested on segmentation.
_base_ = './demo.py'
left_out = 'segmentation'
