"""What a finished run is asked: by the command, and by nobody whom a run would have to wait for."""
