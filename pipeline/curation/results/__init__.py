"""What a finished run says to who asks: of one record, beside another run, written out again. Changes no run."""
