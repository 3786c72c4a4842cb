"""One self-contained HTML page about evaluations, runs, analyses and caches; the demo's page has the same parts."""
