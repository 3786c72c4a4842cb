"""Analyses of trained models: what their layers hold, where they look, what they make of a shuffled picture.

Each is one file with two functions, `measure` and `report`, and one entry here.
"""

from pipelines.analyses.attention import ATTENTION
from pipelines.analyses.cknna import CKNNA
from pipelines.analyses.curve import CURVE
from pipelines.analyses.entropy import ENTROPY
from pipelines.analyses.job import Analysis
from pipelines.analyses.pca import PCA
from pipelines.analyses.permutation import PERMUTATION
from viral.errors import UnknownNameError

ANALYSES = {analysis.name: analysis for analysis in (CKNNA, ENTROPY, ATTENTION, PERMUTATION, PCA, CURVE)}


def get_analysis(name: str) -> Analysis:
    """Look an analysis up by name.

    Raises:
        UnknownNameError: no such analysis.
    """
    if name not in ANALYSES:
        raise UnknownNameError("analysis", name, list(ANALYSES))
    return ANALYSES[name]
