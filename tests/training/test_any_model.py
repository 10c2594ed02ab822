"""Models and data of one's own: the numbers of a run are those of `fit` with the same batches."""

import numpy as np
import pytest

import keraslr
from keraslr import Run
from keraslr.training import train
from tests.tools.fitted import fitted
from tests.tools.kinds import KINDS

SCHEDULE = keraslr.CosineAnnealingLR(0.05, T_max=14)
# There `fit` takes one empty step more at the end of each epoch, so that a schedule drifts: the
# optimizer's counter stands at 14 after 12 batches.
RATES = {"dataset_of_unknown_length": 0.05}
# XLA orders sums otherwise where it compiles another graph.
ROUNDED = {"compiled_by_xla": 1e-6}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_gives_the_numbers_of_fit(kind):
    rate = RATES.get(kind.__name__, SCHEDULE)
    run = Run(kind.__name__, rate, kind(), epochs=2, batch_size=8, seed=3)
    result = train(run)
    model, history = fitted(run, kind())
    tolerance = ROUNDED.get(kind.__name__, 0)
    for ours, theirs in zip(result.model.variables, model.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=tolerance)
    assert result.status == "finished"
    assert set(result.epochs) == {*history, "learning_rate"}
    for name, values in history.items():
        np.testing.assert_allclose(result.epochs[name], values, rtol=1e-5, err_msg=name)
