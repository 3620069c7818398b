"""Who may send and who may read: roles, tokens and enrolment."""
