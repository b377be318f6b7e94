"""The decorated layer: functions that are tasks, and functions that are flows of tasks."""
