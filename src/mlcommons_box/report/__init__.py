"""Results as text and as JSON.  Results are data first; these modules only render them."""
