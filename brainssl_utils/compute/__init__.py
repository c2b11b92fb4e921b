"""How this computer trains fastest: its cores, oneDNN's layout, the settings of the process."""
