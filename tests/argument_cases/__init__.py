"""The table of arguments: a valid call of every public function and class."""

from tests.argument_cases import functions, layers, models, ops, running
from tests.argument_cases.row import Row, parameters
from tests.argument_cases.values import forms_of, odd_values

ROWS = [*ops.ROWS, *layers.ROWS, *functions.ROWS, *models.ROWS, *running.ROWS]

__all__ = ["ROWS", "Row", "forms_of", "odd_values", "parameters"]
