"""The simulation lab: algorithms over many recorded stock-days, compared in pairs, without looking ahead."""
