_base_ = ['./uniform_faster-rcnn_r101-r50_fpn_coco.py', '../_base_/datasets/coco_detection_search.py', '../_base_/methods/exhaustive.py']
search = _base_.candidates
