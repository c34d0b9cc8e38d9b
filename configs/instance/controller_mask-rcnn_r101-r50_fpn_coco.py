_base_ = ['./uniform_mask-rcnn_r101-r50_fpn_coco.py', '../_base_/datasets/coco_instance_search.py', '../_base_/methods/controller.py']
search = _base_.candidates
