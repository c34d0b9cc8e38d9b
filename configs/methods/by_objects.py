# The finest level for images with more than ten objects, the coarsest for the
# others: an oracle that knows the labels, which a policy has to come near.
_base_ = './uniform.py'
method = dict(
    model=dict(
        selector=dict(
            _delete_=True,
            type='mmrlkd.GroupSelector',
            descriptor='objects',
            edges=[10.5],
            # One row a group, fewer objects first; a rate for each of P2 to P5.
            rates=[[0, 0, 0, 1], [1, 0, 0, 0]])))
