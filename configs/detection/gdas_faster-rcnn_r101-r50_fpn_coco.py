_base_ = './darts_faster-rcnn_r101-r50_fpn_coco.py'
model = dict(selector=dict(_delete_=True, type='mmrlkd.GDASSelector'))
