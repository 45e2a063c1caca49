"""How far a fast form may be from the exact numbers, beside how far the textbook form is."""

import numpy as np


def assert_as_exact(output, textbook, exact):
    """Hold an output in low precision against the textbook form's in the same precision.

    The root-mean-square error may be twice the textbook's, plus 8 ε times the largest value; the
    largest error, so that no single row hides, four times the textbook's largest, plus as much.
    """
    slack = 8 * np.finfo(output.dtype).eps * np.max(np.abs(exact), initial=0)
    errors = [np.abs(form.astype(exact.dtype) - exact) for form in (output, textbook)]
    typical, allowed = (np.sqrt(np.mean(error**2)) for error in errors)
    assert typical <= 2 * allowed + slack
    largest, allowed = (np.max(error, initial=0) for error in errors)
    assert largest <= 4 * allowed + slack
