"""What each page shows, as plain values for its template; no HTTP and no store here."""
