//! The data of a new shop: its users, their money, and the products.

/// A user of the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Such as `u007`.
    pub id: String,
    /// What the gateway accepts in `x-api-key`.
    pub api_key: String,
    /// Whose limit the user shares: `free` or `pro`.
    pub tenant: &'static str,
    /// In cents.
    pub balance: i64,
}

/// How many users there are.
pub const USERS: usize = 100;

/// The last users of [`users`] have no money, so that their charges are declined.
pub const POOR: usize = 5;

/// All users: `u000` with the key `key-u000`, and so on.
#[must_use]
pub fn users() -> Vec<User> {
    let user = |number: usize| User {
        id: format!("u{number:03}"),
        api_key: format!("key-u{number:03}"),
        tenant: if number.is_multiple_of(4) {
            "free"
        } else {
            "pro"
        },
        balance: if number < USERS - POOR {
            100_000_000
        } else {
            0
        },
    };
    (0..USERS).map(user).collect()
}

/// A product of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Such as `espresso-cup`.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// In cents.
    pub price: i64,
    /// How many there are at first.
    pub stock: i64,
}

const fn product(id: &'static str, name: &'static str, price: i64, stock: i64) -> Product {
    Product {
        id,
        name,
        price,
        stock,
    }
}

/// Many of most, few of some, so that reservations are declined, and none of the last.
pub const PRODUCTS: &[Product] = &[
    product("espresso-cup", "Espresso cup", 900, 1_000_000),
    product("tea-pot", "Tea pot", 3_900, 1_000_000),
    product("kettle", "Kettle", 5_900, 1_000_000),
    product("hand-grinder", "Hand grinder", 7_900, 1_000_000),
    product("filter-papers", "Filter papers", 400, 1_000_000),
    product("scale", "Scale", 2_900, 1_000_000),
    product("milk-jug", "Milk jug", 1_500, 1_000_000),
    product("house-blend", "House blend, 1 kg", 2_200, 1_000_000),
    product("gesha", "Gesha, 250 g", 4_800, 200),
    product("lever-machine", "Lever machine", 89_000, 20),
    product("signed-poster", "Signed poster", 9_900, 0),
];
