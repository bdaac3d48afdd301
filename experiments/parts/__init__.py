"""What several pages are made of, chosen by settings: frozen values without flags."""
