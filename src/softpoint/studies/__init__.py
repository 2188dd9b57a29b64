"""Several trainings as one answer: folds pooled, variants compared, tables, charts and pages of them."""
