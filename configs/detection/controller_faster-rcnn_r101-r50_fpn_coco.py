# Controller-LS: levels, losses, connectors and the teacher's levels, 400 recipes.
_base_ = './exhaustive_faster-rcnn_r101-r50_fpn_coco.py'
search = dict(
    staleness=1,
    strategy=dict(
        _delete_=True,
        type='mmrlkd.ControllerSearch',
        batch_size=8,
        batches=50,
        losses=dict(
            mse=dict(type='mmrlkd.MSELoss'),
            cwd=dict(type='mmrlkd.CWDLoss')),
        connectors=dict(
            conv=dict(type='mmrlkd.ConvConnector'),
            mlp=dict(type='mmrlkd.MLPConnector'))))
