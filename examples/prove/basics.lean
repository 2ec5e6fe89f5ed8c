/-! Small facts with their proofs left out: `npx deepseek-ts prove examples/prove/basics.lean` finds them. -/

theorem add_swap (a b c : Nat) : a + b + c = c + (b + a) := by
  sorry

theorem and_to_or (p q : Prop) (h : p ∧ q) : q ∨ p := by sorry

theorem sum_bound (x y : Int) (h0 : 2 * x + y ≤ 8) (h1 : x - y ≤ 1) : x ≤ 3 := sorry

theorem square_of_sum (x y : Int) : (x + y) * (x + y) = x * x + 2 * (x * y) + y * y := by
  sorry

theorem has_solution : ∃ n : Nat, 2 * n + 1 = 9 := by
  sorry

def f : Nat → Nat
  | 0 => 3
  | n + 1 => f n + 2

theorem f_eq (n : Nat) : f n = 2 * n + 3 := by
  sorry
