"""More machines: an engine (Dask) trains what is not known, wherever there is a core or a GPU."""
