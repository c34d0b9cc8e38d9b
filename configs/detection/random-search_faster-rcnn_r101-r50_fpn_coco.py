_base_ = './exhaustive_faster-rcnn_r101-r50_fpn_coco.py'
search = dict(
    strategy=dict(_delete_=True, type='mmrlkd.RandomSearch', evaluations=8))
