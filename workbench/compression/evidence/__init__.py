"""What a recipe is made from: responses to the target's images, and scores."""
