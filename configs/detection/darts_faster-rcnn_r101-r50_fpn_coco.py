# DARTS-LS, by tools/search.py; what it finds is trained as uniform_faster-rcnn_r101-r50_fpn_coco.py
# is. The train set is split by tools/datasets/hold_out.py.
_base_ = [
    './uniform_faster-rcnn_r101-r50_fpn_coco.py',
    '../_base_/datasets/coco_detection_search.py'
]
model = dict(selector=dict(_delete_=True, type='mmrlkd.DARTSSelector'))
train_dataloader = dict(
    dataset=dict(ann_file='annotations/search_train.json'))
held_out = _base_.train_dataloader
held_out.sampler = dict(type='InfiniteSampler', shuffle=True)
held_out.dataset.ann_file = 'annotations/search_val.json'
val_dataloader = _base_.search_data.val_dataloader
val_evaluator = _base_.search_data.val_evaluator
search = dict(
    metric='coco/bbox_mAP',
    then='./uniform_faster-rcnn_r101-r50_fpn_coco.py')
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', length=4),
            dict(name='search', length=8),
        ]),
    dict(type='mmrlkd.HeldOutHook', dataloader=held_out),
]
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR', by_epoch=True, begin=0, end=12,
        milestones=[8, 11], gamma=0.1),
]
