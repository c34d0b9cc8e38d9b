# A search in training on COCO: half as long as the training that follows it.
searching = dict(
    phases=[
        dict(name='pretrain', share=1 / 3),
        dict(name='search', share=2 / 3),
    ],
    train_cfg=dict(max_epochs=12),
    param_scheduler=[
        dict(
            type='LinearLR', start_factor=0.001, by_epoch=False, begin=0,
            end=500),
        dict(
            type='MultiStepLR', by_epoch=True, begin=0, end=12,
            milestones=[8, 11], gamma=0.1),
    ])
