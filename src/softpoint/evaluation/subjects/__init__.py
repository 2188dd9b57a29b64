"""Evaluation of a model that finds several subjects: what it finds beside what is labeled, and numbers of both."""

from softpoint.evaluation.subjects.results import LabeledSubjects, SubjectResults
from softpoint.evaluation.subjects.summary import measure_subjects
from softpoint.evaluation.subjects.table import SUBJECTS, read_subjects, write_subjects

__all__ = ["SUBJECTS", "LabeledSubjects", "SubjectResults", "measure_subjects", "read_subjects", "write_subjects"]
