"""The runners: one file each, none built on another."""
