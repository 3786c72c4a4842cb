"""The paper once more: its tables and figures as steps that can be run, stopped and continued."""
