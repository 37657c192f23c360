"""What an adaptation ends with: latencies, the verdict, its report and its files."""
