"""What a run looked like: pictures and pages made from the files it left behind."""
