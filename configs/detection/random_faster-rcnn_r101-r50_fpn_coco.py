# Give it the mean distill_cost that the policy's run logged.
_base_ = './uniform_faster-rcnn_r101-r50_fpn_coco.py'
model = dict(
    selector=dict(_delete_=True, type='mmrlkd.RandomSelector', cost=3.75))
