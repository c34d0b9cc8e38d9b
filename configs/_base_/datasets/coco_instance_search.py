# As for detection; candidates are scored by their masks.
_base_ = './coco_detection_search.py'
search = dict(metric='coco/segm_mAP')
