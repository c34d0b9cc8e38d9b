_base_ = ['./uniform_retinanet_r101-r50_fpn_coco.py', '../_base_/datasets/coco_detection_search.py', '../_base_/methods/random_search.py']
search = _base_.candidates
